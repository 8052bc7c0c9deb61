//! What a language model may be told beside its streams (`conditioners`) and where it hears it (`fuser`).

use serde_json::{Map, Value, json};

use super::Reader;
use super::limits::MAX_WIDTH;
use crate::Result;

/// Where each condition goes. A name stands for a conditioner.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FuserConfig {
    /// Added to the temporal input at every step.
    pub sum: Vec<String>,
    /// Attended to in every temporal layer, one after another.
    pub cross: Vec<String>,
    /// One more position in front of the first step.
    pub prepend: Vec<String>,
    /// A row of it is added to the temporal input at each step.
    pub streaming_sum: Vec<String>,
    /// Factor of the sine positions that are added to what is attended to; `None` adds none.
    pub cross_positions: Option<f64>,
}

/// A condition by name, and how its value becomes vectors of the model's width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionerConfig {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: ConditionerKind,
}

/// What the values of a condition are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConditionerKind {
    /// One of some texts (`lut`), each a row of a table.
    Lut {
        /// Rows of the table less one; there may be fewer values.
        bins: usize,
        /// Width of the table.
        dim: usize,
        /// The texts, in the order of the rows.
        values: Vec<String>,
    },
    /// Vectors in time (`tensor`).
    Tensor {
        /// Width of a vector.
        dim: usize,
    },
}

impl ConditionerConfig {
    /// Width of what is projected to the model's width.
    pub fn dim(&self) -> usize {
        match self.kind {
            ConditionerKind::Lut { dim, .. } | ConditionerKind::Tensor { dim } => dim,
        }
    }
}

/// Reads `conditioners`, in the order of their names.
pub(super) fn parse_conditioners(r: &Reader<'_>) -> Result<Vec<ConditionerConfig>> {
    let Some(all) = r.object("conditioners")? else { return Ok(Vec::new()) };
    let one = |name: String| -> Result<Option<ConditionerConfig>> {
        let Some(entry) = all.object(&name)? else { return Ok(None) };
        let kind = parse_kind(&entry)?;
        Ok(Some(ConditionerConfig { name, kind }))
    };
    let mut conditioners: Vec<_> = all.keys().map(one).filter_map(Result::transpose).collect::<Result<_>>()?;
    conditioners.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(conditioners)
}

fn parse_kind(entry: &Reader<'_>) -> Result<ConditionerKind> {
    let missing = |key: &str| entry.error(key, "missing", "the options of the conditioner");
    match entry.text("type")?.as_deref() {
        Some("lut") => {
            let lut = entry.object("lut")?.ok_or_else(|| missing("lut"))?;
            lut.choice("tokenizer", &[("noop", ())])?;
            let bins = lut.need_count("n_bins", 1, MAX_WIDTH)?;
            let values = lut.texts("possible_values")?;
            if values.is_empty() || values.len() > bins {
                let expected = format!("1 to n_bins = {bins} texts");
                return Err(lut.error("possible_values", format!("{} texts", values.len()), expected));
            }
            Ok(ConditionerKind::Lut { bins, dim: lut.need_count("dim", 1, MAX_WIDTH)?, values })
        }
        Some("tensor") => {
            let tensor = entry.object("tensor")?.ok_or_else(|| missing("tensor"))?;
            Ok(ConditionerKind::Tensor { dim: tensor.need_count("dim", 1, MAX_WIDTH)? })
        }
        other => Err(entry.error("type", other.unwrap_or("missing"), "\"lut\" or \"tensor\"")),
    }
}

/// Reads `fuser`, whose names must be conditioners.
pub(super) fn parse_fuser(r: &Reader<'_>, conditioners: &[ConditionerConfig]) -> Result<FuserConfig> {
    let Some(fuser) = r.object("fuser")? else { return Ok(FuserConfig::default()) };
    let names = |key: &str| -> Result<Vec<String>> {
        let names = fuser.texts(key)?;
        match names.iter().find(|name| conditioners.iter().all(|known| known.name != **name)) {
            Some(name) => Err(fuser.error(key, format!("{name:?}"), "names of conditioners")),
            None => Ok(names),
        }
    };
    let scale = fuser.number("cross_attention_pos_emb_scale", -1e6, 1e6)?.unwrap_or(1.0);
    let positions = fuser.flag("cross_attention_pos_emb", false)?;
    Ok(FuserConfig {
        sum: names("sum")?,
        cross: names("cross")?,
        prepend: names("prepend")?,
        streaming_sum: names("streaming_sum")?,
        cross_positions: positions.then_some(scale),
    })
}

/// As config.json spells them; nothing where there are none.
pub(super) fn conditioners_to_json(conditioners: &[ConditionerConfig]) -> Option<Value> {
    let entry = |conditioner: &ConditionerConfig| match &conditioner.kind {
        ConditionerKind::Lut { bins, dim, values } => {
            json!({"type": "lut", "lut": {
                "n_bins": bins, "dim": dim, "tokenizer": "noop", "possible_values": values,
            }})
        }
        ConditionerKind::Tensor { dim } => json!({"type": "tensor", "tensor": {"dim": dim}}),
    };
    let map: Map<_, _> = conditioners.iter().map(|c| (c.name.clone(), entry(c))).collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

impl FuserConfig {
    /// As config.json spells it; nothing where no condition goes anywhere.
    pub(super) fn to_json(&self) -> Option<Value> {
        let value = json!({
            "cross_attention_pos_emb": self.cross_positions.is_some(),
            "cross_attention_pos_emb_scale": self.cross_positions.unwrap_or(1.0),
            "sum": self.sum,
            "prepend": self.prepend,
            "cross": self.cross,
            "streaming_sum": self.streaming_sum,
        });
        (*self != Self::default()).then_some(value)
    }
}
