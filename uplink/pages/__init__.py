"""What a site's status page and the platform's fleet page have in common: their look, their words for figures, and what keeps
other people's web pages out. Each has its own pages, assets and guard on top."""
