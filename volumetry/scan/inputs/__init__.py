"""What a user hands over: folders, archives, single files, volumes."""
