"""Recurrent models as ONNX graphs, for any number and length of texts and for padding in any pattern.

They are made of ONNX's own recurrent operators. `torch.onnx.export` has none of these for a model whose length may
vary: it records the steps of the cell, and ONNX Runtime then runs a loop of small operators.

- `build.py` builds the graph or the graphs of a model;
- `heads.py` has its inputs and outputs: classes of texts, tags of words, or the next word and the state;
- `encoder.py` has the embeddings and the stack of layers; `cells.py` says which operator a cell is, in which order the
  operator has its gates and how it takes its weights; `characters.py` reads the characters of words;
- `layout.py` moves words to the front of their rows and back; `pooling.py` makes the vector of a text and compares two;
- `seq2seq.py` has the two graphs of a model that translates;
- `crf.py` decodes tags, and serves any tagger;
- `graph.py` holds the graph under construction, with the names of the state dict.
"""
