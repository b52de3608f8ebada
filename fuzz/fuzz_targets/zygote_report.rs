//! A zygote's report: what is understood is written as it was read.
#![no_main]

use belljar_channel::ZygoteReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(report) = ZygoteReport::decode(packet) {
        assert_eq!(report.encode(), packet);
    }
});
