"""How good the model is at one hospital, on that hospital's own questions: answers, figures, pictures. All of it stays."""
