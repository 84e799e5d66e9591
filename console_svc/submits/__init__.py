"""New task: one by a form, many by paste or CSV: a preview names bad rows; sending it twice submits nothing twice."""
