"""The hospital's page: is it well, what does it do, what left and what did it cost. Nothing of it leaves."""
