//! From a repository, folder or file to named tensors.
//!
//! This crate is the only place that knows file layouts and foreign tensor names. Whatever the layout, the model code
//! asks for *canonical* names, which are those of the newest PyTorch checkpoints:
//! `transformer.layers.{i}.self_attn.{in,out}_projs.0.weight`, `depformer.layers.{l}.self_attn.{in,out}_projs.{j}.weight`,
//! `depformer.layers.{l}.gating.{j}.linear_{in,out}.weight`, `emb.{q}.weight`, `text_emb.weight`, `depformer_in.{j}.weight`,
//! `depformer_emb.{k}.weight`, `depformer_text_emb.weight`, `linears.{k}.weight`, `out_norm.alpha`, ... and the Mimi names of
//! the published codec file.
