"""The charts' colours: Okabe and Ito's palette, which colour-blind readers can tell apart."""

GREY = "#999999"
COLOURS = (GREY, "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
