"""What is asked of a slide, how an answer is written, and what an answer is worth."""
