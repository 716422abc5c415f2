//! The drop reasons of the running kernel and of its modules, by number.
//!
//! A subsystem that can be a module has an enum of its own (`ovs_drop_reason`,
//! `mac80211_drop_reason`), whose numbers have the subsystem's in their upper half. Its names are
//! in the module's BTF, so they are there once the module is loaded.

use std::fs;
use std::path::Path;

use super::btf::{KERNEL_BTF, Types};
use super::error::LoadError;

/// Directory with the BTF of the kernel and of its modules.
const BTF: &str = "/sys/kernel/btf";

/// Ends the name of every subsystem's enum of reasons.
const ENUM: &str = "_drop_reason";

/// The reasons of the running kernel itself by number, without their prefix `SKB_DROP_REASON_` (or
/// `SKB_` for the two that are no drops). Empty on a kernel that gives no reasons (before 5.17).
///
/// # Errors
/// If the kernel's BTF cannot be read.
pub fn drop_reasons() -> Result<Vec<(u32, String)>, LoadError> {
    let data = kernel_btf()?;
    own(types(&data)?)
}

/// Reads drop reasons, and detects when there may be others.
#[derive(Debug, Default)]
pub struct DropReasons {
    modules: Vec<String>,
}

impl DropReasons {
    /// The drop reasons by number: the kernel's own as [`drop_reasons`] has them, those of
    /// subsystems as they are named.
    ///
    /// # Errors
    /// If the kernel's own cannot be read. A module's that cannot are left out.
    pub fn read(&mut self) -> Result<Vec<(u32, String)>, LoadError> {
        self.modules = modules();
        let data = kernel_btf()?;
        let kernel = types(&data)?;
        let mut reasons = own(kernel)?;
        reasons.extend(of_subsystems(kernel));
        for module in &self.modules {
            let Ok(data) = fs::read(Path::new(BTF).join(module)) else { continue };
            if let Ok(types) = Types::of_module(&data, kernel) {
                reasons.extend(of_subsystems(types));
            }
        }
        Ok(reasons)
    }

    /// True if modules were loaded or unloaded since the reasons were read.
    pub fn are_outdated(&self) -> bool {
        modules() != self.modules
    }
}

fn refused(why: String) -> LoadError {
    LoadError::Refused { object: KERNEL_BTF.to_owned(), why }
}

fn kernel_btf() -> Result<Vec<u8>, LoadError> {
    fs::read(KERNEL_BTF).map_err(|error| refused(error.to_string()))
}

fn types(data: &[u8]) -> Result<Types<'_>, LoadError> {
    Types::new(data).map_err(|error| refused(error.to_string()))
}

fn own(kernel: Types<'_>) -> Result<Vec<(u32, String)>, LoadError> {
    let reasons = kernel.enumerators("skb_drop_reason").map_err(|error| refused(error.to_string()))?;
    Ok(reasons.into_iter().map(|(number, name)| (number, bare(name).to_owned())).collect())
}

fn bare(name: &str) -> &str {
    name.strip_prefix("SKB_DROP_REASON_").or_else(|| name.strip_prefix("SKB_")).unwrap_or(name)
}

fn of_subsystems(types: Types<'_>) -> Vec<(u32, String)> {
    let enums = types.enums(|name| name.ends_with(ENUM) && name != "skb_drop_reason").unwrap_or_default();
    let all = enums.into_iter().flatten();
    all.filter(|(number, _)| number >> 16 != 0).map(|(number, name)| (number, name.to_owned())).collect()
}

/// The modules that show BTF, sorted.
fn modules() -> Vec<String> {
    let files = fs::read_dir(BTF).into_iter().flatten().flatten();
    let mut names: Vec<String> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    names.retain(|name| name != "vmlinux");
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running kernel's reasons are read, and are up to date right after that.
    #[test]
    fn this_kernel() {
        let mut reasons = DropReasons::default();
        if let Ok(read) = reasons.read() {
            assert!(read.is_empty() || read.iter().any(|(_, name)| name == "NOT_SPECIFIED"), "{read:?}");
            assert!(!reasons.are_outdated());
        }
    }
}
