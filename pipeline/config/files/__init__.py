"""Which files of a folder belong to which split, and in which format they are, found without reading their rows.

`folders` finds the splits in a folder, and `listing` leaves out what is no data. `split_names` knows the names of
splits, `split_files` chooses between files with such names, and `hub_folders` reads what a data repository of the Hub
or `Dataset.save_to_disk` says about its files. `format_choice` chooses the format of each file, with `detection` by its
content. `paired_lines` finds the file of labels that belongs to a file of texts, and `parallel` the files of its
translations.
"""
