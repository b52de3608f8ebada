//! A call from JavaScript: access to its arguments, and the values that it returns.

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::ptr;

use super::api::{Bound, CallbackInfo, Env, NAPI_FUNCTION, Value, bound};

/// A call from JavaScript: its environment and arguments.
pub(super) struct Call {
    pub(super) node: &'static Bound,
    pub(super) env: Env,
    pub(super) arguments: [Value; 4],
}

impl Call {
    pub(super) fn text(&self, index: usize) -> Option<String> {
        let mut length = 0;
        // SAFETY: with a null buffer, only the length is written.
        let status = unsafe {
            (self.node.api.napi_get_value_string_utf8)(
                self.env,
                self.arguments[index],
                ptr::null_mut(),
                0,
                &raw mut length,
            )
        };
        if status != 0 {
            return None;
        }
        let mut buffer = vec![0_u8; length + 1];
        // SAFETY: the buffer has room for the text and its final NUL.
        unsafe {
            (self.node.api.napi_get_value_string_utf8)(
                self.env,
                self.arguments[index],
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut length,
            )
        };
        buffer.truncate(length);
        String::from_utf8(buffer).ok()
    }

    /// Returns the UTF-8 of a string, or the bytes of a typed array.
    pub(super) fn bytes(&self, index: usize) -> Option<Vec<u8>> {
        if let Some(text) = self.text(index) {
            return Some(text.into_bytes());
        }
        let (mut kind, mut length, mut data) = (0, 0, ptr::null_mut());
        let (mut buffer, mut offset) = (ptr::null_mut(), 0);
        // SAFETY: all results are writable.
        let status = unsafe {
            (self.node.api.napi_get_typedarray_info)(
                self.env,
                self.arguments[index],
                &raw mut kind,
                &raw mut length,
                &raw mut data,
                &raw mut buffer,
                &raw mut offset,
            )
        };
        // Kinds 0 to 2 are the arrays of single bytes.
        if status != 0 || !(0..=2).contains(&kind) || data.is_null() {
            return (status == 0 && length == 0).then(Vec::new);
        }
        // SAFETY: Node.js reports this number of bytes, and JavaScript does not run while they are
        // copied.
        Some(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec())
    }

    pub(super) fn number(&self, index: usize) -> u32 {
        let mut number = 0;
        // SAFETY: the result is writable, and stays 0 if the argument is not a number.
        unsafe {
            (self.node.api.napi_get_value_uint32)(self.env, self.arguments[index], &raw mut number)
        };
        number
    }

    pub(super) fn truth(&self, index: usize) -> bool {
        let mut truth = false;
        // SAFETY: the result is writable, and stays false if the argument is not a boolean.
        unsafe {
            (self.node.api.napi_get_value_bool)(self.env, self.arguments[index], &raw mut truth)
        };
        truth
    }

    pub(super) fn unsigned(&self, number: u32) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_uint32)(self.env, number, &raw mut value) };
        value
    }

    pub(super) fn double(&self, number: f64) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_double)(self.env, number, &raw mut value) };
        value
    }

    pub(super) fn string(&self, text: &[u8]) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the text is readable for its length.
        unsafe {
            (self.node.api.napi_create_string_utf8)(
                self.env,
                text.as_ptr().cast(),
                text.len(),
                &raw mut value,
            )
        };
        value
    }

    pub(super) fn boolean(&self, truth: bool) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_get_boolean)(self.env, truth, &raw mut value) };
        value
    }

    pub(super) fn undefined(&self) -> Value {
        let mut value = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_get_undefined)(self.env, &raw mut value) };
        value
    }

    pub(super) fn set(&self, object: Value, name: &CStr, value: Value) {
        // SAFETY: handles of this call and a NUL-terminated name.
        unsafe { (self.node.api.napi_set_named_property)(self.env, object, name.as_ptr(), value) };
    }

    pub(super) fn object(&self) -> Value {
        let mut object = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe { (self.node.api.napi_create_object)(self.env, &raw mut object) };
        object
    }

    pub(super) fn array(&self, values: impl ExactSizeIterator<Item = Value>) -> Value {
        let mut array = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe {
            (self.node.api.napi_create_array_with_length)(self.env, values.len(), &raw mut array)
        };
        for (index, value) in (0..).zip(values) {
            // SAFETY: handles of this call.
            unsafe { (self.node.api.napi_set_element)(self.env, array, index, value) };
        }
        array
    }

    pub(super) fn is_function(&self, value: Value) -> bool {
        let mut kind = 0;
        // SAFETY: the result is writable, and a missing value is not passed on.
        !value.is_null()
            && unsafe { (self.node.api.napi_typeof)(self.env, value, &raw mut kind) } == 0
            && kind == NAPI_FUNCTION
    }

    /// Returns a reference to an argument, which lives until it is deleted.
    pub(super) fn reference(&self, index: usize) -> *mut c_void {
        let mut reference = ptr::null_mut();
        // SAFETY: the result is writable.
        unsafe {
            (self.node.api.napi_create_reference)(
                self.env,
                self.arguments[index],
                1,
                &raw mut reference,
            )
        };
        reference
    }

    /// Calls a function. Returns whether it threw, and the thrown or the returned value.
    pub(super) fn invoke(
        &self,
        receiver: Value,
        function: Value,
        arguments: &[Value],
    ) -> (bool, Value) {
        let (api, mut value) = (&self.node.api, ptr::null_mut());
        // SAFETY: handles of this call; the result is writable.
        unsafe {
            if (api.napi_call_function)(
                self.env,
                receiver,
                function,
                arguments.len(),
                arguments.as_ptr(),
                &raw mut value,
            ) == 0
            {
                return (false, value);
            }
            (api.napi_get_and_clear_last_exception)(self.env, &raw mut value);
        }
        (true, value)
    }

    pub(super) fn throw(&self, message: &str) -> Value {
        let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
        // SAFETY: a NUL-terminated message; no code.
        unsafe { (self.node.api.napi_throw_error)(self.env, ptr::null(), message.as_ptr()) };
        ptr::null_mut()
    }

    pub(super) fn result(&self, result: io::Result<()>) -> Value {
        match result {
            Ok(()) => self.undefined(),
            Err(error) => self.throw(&error.to_string()),
        }
    }
}

/// Calls `body` with the arguments of a callback. JavaScript may pass fewer or more than four.
///
/// # Safety
/// `env` and `info` are those of a callback in progress.
pub(super) unsafe fn call(
    env: Env,
    info: CallbackInfo,
    body: impl FnOnce(&Call) -> Value,
) -> Value {
    let Some(node) = bound() else { return ptr::null_mut() };
    let mut arguments = [ptr::null_mut(); 4];
    let mut count = arguments.len();
    // SAFETY: room for four arguments; missing ones become `undefined`.
    unsafe {
        (node.api.napi_get_cb_info)(
            env,
            info,
            &raw mut count,
            arguments.as_mut_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    body(&Call { node, env, arguments })
}
