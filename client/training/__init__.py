"""One round at one hospital: supervised fine-tuning and GRPO, one clipped gradient a patient."""
