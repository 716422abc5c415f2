//! Any configuration file is answered with settings or with problems that can be printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_settings::{Environment, KEYS, Settings, SourceFile, diff, reloaded, resolve};

fuzz_target!(|text: &str| {
    let file = SourceFile { name: "fuzz.yaml".to_owned(), text: text.to_owned() };
    let environment = Environment { hostname: "host".to_owned(), ..Environment::default() };
    match resolve(Some(file), &environment, &[]) {
        Ok(resolved) => {
            assert_eq!(resolved.entries().len(), KEYS.len());
            // What was read can be carried over by a reload, and nothing that can be is left
            // behind.
            let running = reloaded(&Settings::default(), &resolved.settings);
            assert!(diff(&running, &resolved.settings).applied.is_empty());
        }
        Err(problems) => assert!(problems.to_string().starts_with("error: ")),
    }
});
