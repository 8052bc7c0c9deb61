//! A file whose entries are known beforehand and written in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::format::WriteLayout;
use super::stored::Stored;
use crate::names::TensorSpec;
use crate::quantize::Scheme;
use crate::save::{Format, Outline, header, problem};
use crate::{Error, Result, gguf};

/// Tensor data of a GGUF file begin at multiples of this.
const ALIGNMENT: u64 = 32;

/// Where the next bytes of an entry go, and where they end.
struct Room {
    next: u64,
    end: u64,
}

/// A file in the making.
pub(super) struct Target {
    path: PathBuf,
    part: PathBuf,
    file: File,
    rooms: BTreeMap<String, Room>,
}

impl Target {
    /// Writes the header for `items`: names in the file, format, and shape of the part that each adds to its entries.
    pub(super) fn create(
        path: &Path,
        layout: WriteLayout,
        items: &[(Vec<String>, Stored, TensorSpec)],
    ) -> Result<Self> {
        let (header, rooms) = match layout {
            WriteLayout::Gguf => gguf_header(items)?,
            _ => safetensors_header(items, layout)?,
        };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        let part = path.with_file_name(name);
        let io = |source| Error::Io { path: part.clone(), doing: "write", source };
        let mut file = File::create(&part).map_err(io)?;
        let size = rooms.values().map(|room| room.end).max().unwrap_or(0).max(header.len() as u64);
        file.write_all(&header).and_then(|()| file.set_len(size)).map_err(io)?;
        Ok(Self { path: path.to_path_buf(), part, file, rooms })
    }

    /// Adds bytes to an entry.
    pub(super) fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let room = self.rooms.get_mut(name).ok_or_else(|| problem(name, "it was not announced"))?;
        if room.next + bytes.len() as u64 > room.end {
            return Err(problem(name, "it has more values than were announced"));
        }
        let io = |source| Error::Io { path: self.part.clone(), doing: "write", source };
        self.file.seek(SeekFrom::Start(room.next)).and_then(|_| self.file.write_all(bytes)).map_err(io)?;
        room.next += bytes.len() as u64;
        Ok(())
    }

    /// Completes the file and gives it its name.
    pub(super) fn finish(mut self) -> Result<()> {
        if let Some((name, _)) = self.rooms.iter().find(|(_, room)| room.next != room.end) {
            return Err(problem(name, "it was announced but not written"));
        }
        let io = |source| Error::Io { path: self.path.clone(), doing: "write", source };
        self.file.flush().map_err(io)?;
        std::fs::rename(&self.part, &self.path).map_err(io)
    }
}

impl Drop for Target {
    /// Leaves no half file behind; after [`Target::finish`] there is none.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

/// The entries of all items, stacked where several have one name.
fn stacked<T: PartialEq>(
    parts: impl Iterator<Item = (String, T, Vec<usize>)>,
) -> Result<BTreeMap<String, (T, Vec<usize>)>> {
    let mut entries: BTreeMap<String, (T, Vec<usize>)> = BTreeMap::new();
    for (name, kind, shape) in parts {
        match entries.get_mut(&name) {
            None => {
                entries.insert(name, (kind, shape));
            }
            Some((known, total)) if *known == kind && total.get(1..) == shape.get(1..) => {
                if let (Some(total), Some(rows)) = (total.first_mut(), shape.first()) {
                    *total += rows;
                }
            }
            Some(_) => return Err(problem(&name, "its parts differ in format or width")),
        }
    }
    Ok(entries)
}

type Head = (Vec<u8>, BTreeMap<String, Room>);

fn safetensors_header(items: &[(Vec<String>, Stored, TensorSpec)], layout: WriteLayout) -> Result<Head> {
    let parts = items.iter().flat_map(|(names, stored, spec)| {
        // MLX norms have one dimension.
        let norm = layout == WriteLayout::Mlx && spec.shape.len() == 3;
        let shape = if norm { &spec.shape[2..] } else { &spec.shape[..] };
        let outlines = stored.outlines(shape);
        names.iter().flat_map(move |name| {
            outlines.clone().into_iter().map(move |(role, format, shape)| (role.name(name), format, shape))
        })
    });
    let entries = stacked(parts)?;
    let mut outlines: Vec<Outline> =
        entries.into_iter().map(|(name, (format, shape))| Outline { name, shape, format }).collect();
    // Wider formats first, so that all values are aligned in a memory map.
    outlines.sort_by(|a, b| (a.format, &a.name).cmp(&(b.format, &b.name)));
    let text = header(&outlines, &BTreeMap::new())?;
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.extend(text);
    let (mut rooms, mut at) = (BTreeMap::new(), head.len() as u64);
    for Outline { name, shape, format } in outlines {
        let end = at + (shape.iter().product::<usize>() * format.bytes()) as u64;
        rooms.insert(name, Room { next: at, end });
        at = end;
    }
    Ok((head, rooms))
}

/// The number that GGUF has for a format, and weights and bytes of a block.
fn kind(stored: Stored) -> Option<(u32, u64, u64)> {
    Some(match stored {
        Stored::Float(Format::F32) => (0, 1, 4),
        Stored::Float(Format::F16) => (1, 1, 2),
        Stored::Float(Format::Bf16) => (30, 1, 2),
        Stored::Integers(Scheme::Q4_0) => (2, 32, 18),
        Stored::Integers(Scheme::Q8_0) => (8, 32, 34),
        _ => return None,
    })
}

fn gguf_header(items: &[(Vec<String>, Stored, TensorSpec)]) -> Result<Head> {
    let parts = items
        .iter()
        .flat_map(|(names, stored, spec)| names.iter().map(move |name| (name.clone(), *stored, spec.shape.clone())));
    let entries = stacked(parts)?;
    let text = |head: &mut Vec<u8>, text: &str| {
        head.extend((text.len() as u64).to_le_bytes());
        head.extend(text.as_bytes());
    };
    let mut head = gguf::MAGIC.to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((entries.len() as u64).to_le_bytes());
    head.extend(2u64.to_le_bytes());
    text(&mut head, "general.architecture");
    head.extend(8u32.to_le_bytes());
    text(&mut head, "moshi");
    text(&mut head, "general.quantization_version");
    head.extend(4u32.to_le_bytes());
    head.extend(2u32.to_le_bytes());
    let (mut rooms, mut at) = (BTreeMap::new(), 0u64);
    for (name, (stored, shape)) in entries {
        let (kind, block, bytes) = kind(stored).ok_or_else(|| problem(&name, "GGUF has no such number format"))?;
        text(&mut head, &name);
        head.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|n| head.extend((*n as u64).to_le_bytes()));
        head.extend(kind.to_le_bytes());
        head.extend(at.to_le_bytes());
        let end = at + shape.iter().product::<usize>() as u64 / block * bytes;
        rooms.insert(name, Room { next: at, end });
        at = end.next_multiple_of(ALIGNMENT);
    }
    head.resize((head.len() as u64).next_multiple_of(ALIGNMENT) as usize, 0);
    for room in rooms.values_mut() {
        (room.next, room.end) = (room.next + head.len() as u64, room.end + head.len() as u64);
    }
    Ok((head, rooms))
}
