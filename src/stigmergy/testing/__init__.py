"""What tests of Stigmergy and of its extensions are made of: contracts and scripted partners."""
