"""Workers: slots with what they run; drain, resize; pause everything or an account; the schedulers."""
