"""Made requests: messages written from the attributes of the items that people took, labelled as made."""
