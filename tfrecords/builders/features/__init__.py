"""`features` records, and the features and regions that other kinds of records contain."""
