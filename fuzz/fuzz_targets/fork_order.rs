//! An order to fork: what is understood is written as it was read, but for the two flags, for which anything but nought is yes.
#![no_main]

use belljar_channel::ForkOrder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Some(order) = ForkOrder::decode(packet) {
        let encoded = order.encode();
        assert_eq!(encoded.len(), packet.len());
        assert_eq!(encoded[..encoded.len() - 2], packet[..packet.len() - 2]);
        assert_eq!(ForkOrder::decode(&encoded), Some(order));
    }
});
