"""The tags of the tagged protocol: what stands around the blocks of a turn and of what it is answered."""

BEGIN_THOUGHT, END_THOUGHT = "<think>", "</think>"
BEGIN_PREFERENCE, END_PREFERENCE = "<|begin_of_preference|>", "<|end_of_preference|>"
BEGIN_ITEMS, END_ITEMS = "<|begin_of_item_list|>", "<|end_of_item_list|>"
BEGIN_LIST, END_LIST = "<recommendation_list>", "</recommendation_list>"
