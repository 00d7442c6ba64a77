"""What `behemoth benchmark` measures: making data, training, editing, and the rivals that they are compared with."""
