//! Any manifest is answered with objects and problems, or with an error, and what was read can be
//! indexed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use webb_cluster::{Cache, CacheSettings, parse};

fuzz_target!(|text: &str| {
    if let Ok(manifest) = parse("fuzz.yaml", text) {
        let cache = Cache::new(CacheSettings { node: "node".to_owned(), ..CacheSettings::default() });
        cache.replace(manifest.objects);
        let _index = cache.index();
    }
});
