//! Compiles the eBPF programs (`bpf/*.bpf.c`) to objects in `OUT_DIR`, which
//! `src/bpf_loader/object.rs` embeds.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The programs, with and without layer 7 and connection quality, the entries to tracepoints,
/// another one that tests attach beside them, and what their bench measures with: folder, source,
/// object, macros.
const OBJECTS: [(&str, &str, &str, &[&str]); 8] = [
    ("bpf", "flow", "flow", &[]),
    ("bpf", "flow", "flow_l7", &["-DWEBB_L7"]),
    ("bpf", "flow", "flow_quality", &["-DWEBB_QUALITY"]),
    ("bpf", "flow", "flow_l7_quality", &["-DWEBB_L7", "-DWEBB_QUALITY"]),
    ("bpf", "drop", "drop", &[]),
    ("bpf", "entry", "entry", &[]),
    ("tests/kernel/support", "enforcer", "enforcer", &[]),
    ("benches/kernel", "driver", "driver", &[]),
];

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=tests/kernel/support/enforcer.bpf.c");
    println!("cargo:rerun-if-changed=benches/kernel/driver.bpf.c");
    println!("cargo:rerun-if-env-changed=CLANG");
    name_build();
    if let Err(text) = build() {
        // Standard error is what cargo shows of a failed build script.
        eprintln!("\nerror: {text}\n");
        exit(1);
    }
}

/// Revision and compiler, for `webb --version`. A source archive has no revision, which is no
/// reason not to build.
fn name_build() {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // A file that is not there would have everything built again each time: in a work tree, `.git`
    // is no directory.
    // `HEAD` names a branch and stays as it is at a commit; its log does not.
    for file in ["HEAD", "logs/HEAD"] {
        let path = said("git", &["rev-parse", "--git-path", file]);
        if let Some(path) = path.filter(|path| PathBuf::from(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    if let Some(revision) = said("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=BUILD_REVISION={revision}");
    }
    if let Some(compiler) = env::var("RUSTC").ok().and_then(|rustc| said(&rustc, &["--version"])) {
        println!("cargo:rustc-env=BUILD_RUSTC={compiler}");
    }
}

fn build() -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let (arch, multiarch) = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => ("x86", "x86_64-linux-gnu"),
        Ok("aarch64") => ("arm64", "aarch64-linux-gnu"),
        other => return Err(format!("the eBPF programs are written for x86_64 and aarch64, not for {other:?}")),
    };
    check(&clang)?;
    // Relative relocations packed: half a megabyte less. Needs glibc 2.36 where it runs, which is
    // Debian 12.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    for (directory, source, name, macros) in OBJECTS {
        let source = format!("{directory}/{source}.bpf.c");
        let object = out.join(format!("{name}.bpf.o"));
        let output = Command::new(&clang)
            .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror"])
            .arg(format!("-D__TARGET_ARCH_{arch}"))
            .args(macros)
            // asm/types.h: Debian keeps it in the directory of the architecture, which the bpf
            // target does not search.
            .arg(format!("-I/usr/include/{multiarch}"))
            // Paths of the building machine have no place in the object.
            .args(["-fdebug-compilation-dir", "."])
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(&object)
            .output()
            .map_err(|error| format!("cannot run {clang}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{clang} failed on {source}:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        // The kernel reads BTF, and nothing reads DWARF. Without the tool the object is larger.
        let _larger = Command::new("llvm-strip").arg("-g").arg(&object).output();
    }
    Ok(())
}

/// One clear error for what a new machine lacks.
fn check(clang: &str) -> Result<(), String> {
    let has_clang = Command::new(clang).arg("--version").output().is_ok_and(|output| output.status.success());
    let has_libbpf = Path::new("/usr/include/bpf/bpf_helpers.h").exists();
    if has_clang && has_libbpf {
        return Ok(());
    }
    let missing = match (has_clang, has_libbpf) {
        (false, true) => format!("{clang} cannot be run"),
        (true, _) => "the headers of libbpf (/usr/include/bpf/bpf_helpers.h) are missing".to_owned(),
        (false, false) => {
            format!("{clang} cannot be run and the headers of libbpf (/usr/include/bpf/bpf_helpers.h) are missing")
        }
    };
    Err(format!(
        "{missing}.\nThe eBPF programs are compiled by clang against libbpf's headers. On Debian and Ubuntu:\n    \
         apt-get install clang libbpf-dev\nAnother compiler than `clang` can be named by the variable CLANG."
    ))
}
