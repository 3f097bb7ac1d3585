"""What pathology departments have (COCO, QuPath, tables of labels) -> a manifest of questions and answers."""
