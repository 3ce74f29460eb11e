"""Jobs over catalogues of any size: fixed partitions, parts written whole, no engine trusted."""
