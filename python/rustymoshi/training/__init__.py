"""Everything that makes the built-in model from nothing: speech, codec, dialogues, language model, export, judgement.

Run the steps in the order of the README in this folder. Nothing here is needed at run time.
"""
