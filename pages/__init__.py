"""What the consortium's and the hospital's pages share: how they look, how they are drawn, how they are served safely."""
