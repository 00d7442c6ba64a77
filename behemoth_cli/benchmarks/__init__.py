"""What `behemoth benchmark` measures: making data, training and editing."""
