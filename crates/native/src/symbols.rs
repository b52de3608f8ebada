//! Functions of the process that has loaded this library, found by name.

use std::ffi::{CStr, c_void};

/// Returns the address of `name`, or `None` if nothing in the process exports it.
pub fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a constant handle and a NUL-terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// Defines a struct with one field per function. `load` looks them up by name, and returns `None`
/// if one is missing.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $visibility:vis struct $table:ident {
            $($name:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        // The fields have the names of the symbols.
        #[allow(non_snake_case, clippy::struct_field_names)]
        $visibility struct $table {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $table {
            /// Looks up all functions.
            #[allow(non_snake_case)] // as above
            $visibility fn load() -> Option<Self> {
                $(
                    let name = const {
                        let bytes = concat!(stringify!($name), "\0").as_bytes();
                        match ::std::ffi::CStr::from_bytes_with_nul(bytes) {
                            Ok(name) => name,
                            Err(_) => panic!("a NUL inside a name"),
                        }
                    };
                    let address = $crate::symbols::find(name)?;
                    // SAFETY: the symbol of this name has this signature by the runtime's public
                    // headers.
                    let $name = unsafe {
                        ::std::mem::transmute::<
                            *mut ::std::ffi::c_void,
                            unsafe extern "C" fn($($argument),*) $(-> $result)?,
                        >(address)
                    };
                )*
                Some(Self { $($name),* })
            }
        }
    };
}

pub(crate) use table;
