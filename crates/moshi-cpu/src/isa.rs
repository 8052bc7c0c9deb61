//! Instruction sets that the kernels are built for, and which of them this machine has.

use std::fmt;

/// An instruction set. Every kernel exists for each of them and gives the same bits on each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: the scalar twin of every kernel, for machines without any of the others and for tests.
    Portable,
    /// AVX2 with fused multiply-add and half-precision conversion (x86-64 since 2013).
    Avx2,
    /// AVX-512 with the F, BW, DQ and VL parts (x86-64 servers since 2017).
    Avx512,
    /// AVX-512 with dot products of bytes (Intel since 2019, AMD since 2022).
    Avx512Vnni,
    /// Advanced SIMD (every 64-bit ARM).
    Neon,
    /// Advanced SIMD with dot products of bytes (most of them since 2018, all of Apple's).
    NeonDot,
}

impl Isa {
    const ALL: [Isa; 6] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Neon, Isa::NeonDot];

    /// All instruction sets that this machine has, the slowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The fastest instruction set that this machine has.
    pub fn best() -> Isa {
        Self::available().last().unwrap_or(Isa::Portable)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => Isa::Avx512.is_available() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    /// Its name, as `portable`, `avx2`, `avx512`, `avx512-vnni`, `neon` or `neon-dotprod`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon-dotprod",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
