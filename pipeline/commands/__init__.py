"""The commands of the program, by what a person is about; `clusterpipe.pipeline.cli` lists them."""
