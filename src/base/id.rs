//! Ids: small numbers that name a thing inside one engine or one director.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into the table it belongs to.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// A link frames come from and go to: an interface, a TUN device, one end of a test wire.
    LinkId
);
id!(
    /// A virtual service's place in the table.
    ServiceId
);
id!(
    /// A destination's (real server's) place in the table; stays the same in the trash.
    DestinationId
);
id!(
    /// A connection's place in the connection table.
    ConnectionId
);
