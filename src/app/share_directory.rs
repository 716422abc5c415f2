//! `webb share-directory`: gives a directory to a group. The image has no other program, so the
//! chart's init container runs this one before an agent writes flow logs to the node.

use std::fs::{Permissions, create_dir_all, metadata, set_permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::cli::{Exit, ShareDirectoryArgs};

/// Mode of a shared directory: its owner's and its group's, files in it are the group's too, and
/// others may read.
const MODE: u32 = 0o2775;

/// What the group needs: to make files, to list them and to reach them.
const GROUP: u32 = 0o070;

/// Makes the directory if it is missing, and gives it to the group; prints what was done.
///
/// # Errors
/// When `out` cannot be written. A directory that cannot be shared is printed on standard error.
pub fn share_directory(arguments: &ShareDirectoryArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let ShareDirectoryArgs { directory, group } = arguments;
    match share(directory, *group) {
        Ok(what) => writeln!(out, "{}: {what}", directory.display()).map(|()| Exit::Success),
        Err(error) => {
            eprintln!(
                "{} cannot be given to the group {group}: {error}; run this as the directory's owner, in that group, or \
                 give the directory to the group on the node",
                directory.display()
            );
            Ok(Exit::Output)
        }
    }
}

fn share(directory: &Path, group: u32) -> io::Result<&'static str> {
    create_dir_all(directory)?;
    let found = metadata(directory)?;
    if found.gid() == group && found.mode() & GROUP == GROUP {
        return Ok("it is the group's already");
    }
    // The owner may do so for a group of its own, without a capability.
    chown(directory, None, Some(group))?;
    set_permissions(directory, Permissions::from_mode(MODE))?;
    Ok("it is the group's now")
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    /// A directory is made and shared once; what is no directory, or cannot be made, is an error.
    #[test]
    fn shares_a_directory() {
        let folder = tempdir().unwrap();
        let group = metadata(folder.path()).unwrap().gid();
        let inner = folder.path().join("a/b");
        assert_eq!(share(&inner, group).unwrap(), "it is the group's now");
        assert_eq!(metadata(&inner).unwrap().mode() & 0o7777, MODE);
        assert_eq!(share(&inner, group).unwrap(), "it is the group's already");
        set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(share(&inner, group).unwrap(), "it is the group's now");
        std::fs::write(folder.path().join("file"), "").unwrap();
        share(&folder.path().join("file"), group).unwrap_err();
        share(&folder.path().join("file/c"), group).unwrap_err();
    }
}
