//! A pickle of tensors, read without running it.
//!
//! A pickle is a program for a small stack machine whose instructions may call any function. Of that program the
//! instructions that `torch.save` writes for a dictionary of tensors are understood (protocol 2), the functions that it
//! names are those that make a tensor, and none is called: they become descriptions of tensors. Everything else ends the
//! reading. The format is that of Python's `pickletools`; the names are those of pytorch's `torch/_utils.py`.

use std::collections::HashMap;
use std::rc::Rc;

/// Most instructions of a pickle. A voice has about 70; the limit also bounds how deep values nest.
const MAX_INSTRUCTIONS: usize = 2_000;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;

/// The number format of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bf16,
    F16,
    F32,
    I64,
}

/// A tensor as the pickle describes it: a view of a storage, which is an entry of its own in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorView {
    pub(super) kind: Kind,
    /// The storage's name in the archive.
    pub(super) key: Rc<str>,
    /// First element.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// An entry of a dictionary of tensors.
pub(super) type Named = (Rc<str>, Rc<TensorView>);

/// A function or type that may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    RebuildTensor,
    OrderedDict,
    Storage(Kind),
}

#[derive(Debug, Clone)]
enum Value {
    Nothing,
    Bool,
    Int(i64),
    Text(Rc<str>),
    Name(Name),
    Tuple(Rc<[Value]>),
    Storage(Kind, Rc<str>),
    Tensor(Rc<TensorView>),
    Dict(Vec<Named>),
    Mark,
}

/// The named tensors of a pickle that is a dictionary of tensors.
///
/// # Errors
/// What was found instead, in words.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<Named>, String> {
    let mut machine = Machine { rest: bytes, stack: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_INSTRUCTIONS {
        if machine.instruction()? {
            return match machine.pop()? {
                Value::Dict(entries) => Ok(entries),
                other => Err(format!("a pickle of {}", other.what())),
            };
        }
    }
    Err(format!("a pickle of more than {MAX_INSTRUCTIONS} instructions"))
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    /// Reads one instruction; true at the end of the program.
    fn instruction(&mut self) -> Result<bool, String> {
        let [code] = self.array()?;
        match code {
            0x80 => self.protocol()?,
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b'(' => self.stack.push(Value::Mark),
            b')' => self.stack.push(Value::Tuple(Rc::new([]))),
            b'N' => self.stack.push(Value::Nothing),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'K' => self.number(|[a]: [u8; 1]| i64::from(a))?,
            b'M' => self.number(|a: [u8; 2]| i64::from(u16::from_le_bytes(a)))?,
            b'J' => self.number(|a: [u8; 4]| i64::from(i32::from_le_bytes(a)))?,
            0x8a => self.long()?,
            b'X' => self.text()?,
            b'c' => self.name()?,
            b'q' => self.put(|[a]: [u8; 1]| u32::from(a))?,
            b'r' => self.put(u32::from_le_bytes)?,
            b'h' => self.get(|[a]: [u8; 1]| u32::from(a))?,
            b'j' => self.get(u32::from_le_bytes)?,
            b't' => {
                let values = self.since_mark()?;
                self.stack.push(Value::Tuple(values.into()));
            }
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            b's' => {
                let at = self.stack.len().checked_sub(2).ok_or("a pickle that ends inside a value")?;
                let pair = self.stack.split_off(at);
                self.set_items(pair)?;
            }
            b'u' => {
                let values = self.since_mark()?;
                self.set_items(values)?;
            }
            b'.' => return Ok(true),
            other => return Err(format!("a pickle with instruction {other:#04x}, which a voice does not need")),
        }
        Ok(false)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or("a pickle that ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("a pickle that ends too early")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().take(200).position(|&byte| byte == b'\n').ok_or("a name without an end")?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a name that is no text".to_owned())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "a pickle that takes more values than it has".to_owned())
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark =
            self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or("a pickle without a mark")?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.array()? {
            [2] => Ok(()),
            [other] => Err(format!("a pickle of protocol {other}, expected 2")),
        }
    }

    fn number<const N: usize>(&mut self, value: impl Fn([u8; N]) -> i64) -> Result<(), String> {
        let bytes = self.array()?;
        self.stack.push(Value::Int(value(bytes)));
        Ok(())
    }

    /// A number of up to 8 bytes.
    fn long(&mut self) -> Result<(), String> {
        let [len] = self.array()?;
        let bytes = self.take(usize::from(len))?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut word = [if negative { 0xff } else { 0 }; 8];
        word.get_mut(..bytes.len()).ok_or("a number of more than 8 bytes")?.copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(word)));
        Ok(())
    }

    fn text(&mut self) -> Result<(), String> {
        let len = u32::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.take(len as usize)?).map_err(|_| "a text that is none")?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn name(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let known = match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => Name::RebuildTensor,
            ("collections", "OrderedDict") => Name::OrderedDict,
            ("torch", "BFloat16Storage") => Name::Storage(Kind::Bf16),
            ("torch", "HalfStorage") => Name::Storage(Kind::F16),
            ("torch", "FloatStorage") => Name::Storage(Kind::F32),
            ("torch", "LongStorage") => Name::Storage(Kind::I64),
            _ => return Err(format!("a pickle that names {module}.{name}; a voice is tensors alone, nothing was run")),
        };
        self.stack.push(Value::Name(known));
        Ok(())
    }

    fn put<const N: usize>(&mut self, index: impl Fn([u8; N]) -> u32) -> Result<(), String> {
        let index = index(self.array()?);
        let value = self.stack.last().ok_or("a pickle that remembers nothing")?;
        // A dictionary is only ever filled where it lies, and never asked for again.
        let value = if matches!(value, Value::Dict(_)) { Value::Nothing } else { value.clone() };
        self.memo.insert(index, value);
        Ok(())
    }

    fn get<const N: usize>(&mut self, index: impl Fn([u8; N]) -> u32) -> Result<(), String> {
        let index = index(self.array()?);
        let value = self.memo.get(&index).ok_or("a pickle that recalls what it never remembered")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Result<(), String> {
        let at = self.stack.len().checked_sub(len).ok_or("a pickle that takes more values than it has")?;
        let values = self.stack.split_off(at);
        self.stack.push(Value::Tuple(values.into()));
        Ok(())
    }

    /// A persistent id: ("storage", type, key, device, number of elements).
    fn storage(&mut self) -> Result<(), String> {
        let Value::Tuple(id) = self.pop()? else { return Err("a storage without a description".to_owned()) };
        match &*id {
            [Value::Text(word), Value::Name(Name::Storage(kind)), Value::Text(key), Value::Text(_), Value::Int(_)]
                if &**word == "storage" =>
            {
                self.stack.push(Value::Storage(*kind, key.clone()));
                Ok(())
            }
            _ => Err("a storage that is described otherwise than torch does".to_owned()),
        }
    }

    /// A call: of the two functions that are known, neither is run.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let value = match (function, arguments) {
            (Value::Name(Name::OrderedDict), Value::Tuple(arguments)) if arguments.is_empty() => Value::Nothing,
            (Value::Name(Name::RebuildTensor), Value::Tuple(arguments)) => Value::Tensor(Rc::new(
                tensor(&arguments).ok_or("a tensor that is described otherwise than torch does")?,
            )),
            _ => return Err("a pickle that calls what a voice does not need; nothing was run".to_owned()),
        };
        self.stack.push(value);
        Ok(())
    }

    /// Puts pairs of names and tensors into the dictionary on the stack; other entries are left out.
    fn set_items(&mut self, values: Vec<Value>) -> Result<(), String> {
        let Some(Value::Dict(entries)) = self.stack.last_mut() else {
            return Err("a pickle that fills no dictionary".to_owned());
        };
        for pair in values.chunks(2) {
            if let [Value::Text(name), Value::Tensor(tensor)] = pair {
                entries.push((name.clone(), tensor.clone()));
            }
        }
        Ok(())
    }
}

impl Value {
    fn what(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool | Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Name(_) => "a name",
            Self::Tuple(_) => "a tuple",
            Self::Storage(..) => "a storage",
            Self::Tensor(_) => "one tensor",
            Self::Dict(_) => "a dictionary",
            Self::Mark => "a mark",
        }
    }
}

/// From (storage, offset, shape, strides, requires_grad, hooks).
fn tensor(arguments: &[Value]) -> Option<TensorView> {
    let [Value::Storage(kind, key), Value::Int(offset), Value::Tuple(shape), Value::Tuple(strides), ..] = arguments
    else {
        return None;
    };
    let sizes = |values: &[Value]| -> Option<Vec<usize>> {
        let size = |value: &Value| match value {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        (values.len() <= MAX_DIMS).then(|| values.iter().map(size).collect())?
    };
    let (shape, strides) = (sizes(shape)?, sizes(strides)?);
    let offset = usize::try_from(*offset).ok()?;
    (shape.len() == strides.len()).then(|| TensorView { kind: *kind, key: key.clone(), offset, shape, strides })
}
