"""What all pages stand on: sessions, languages, live moves, lists, times."""
