"""Programs that are started anew for each figure. They import nothing before what they are to show the cost of."""
