//! How much memory this process holds, and how much it could have.

/// Bytes resident in memory, or `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    kib_of("/proc/self/status", "VmRSS:")
}

/// Bytes that programs can have without swapping, or `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    kib_of("/proc/meminfo", "MemAvailable:")
}

fn kib_of(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
