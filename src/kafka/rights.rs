//! What brokers allow this principal on topics, as they tell it themselves (Kafka Improvement Proposal 430): nothing is tried out.
//!
//! The client's Rust crate has no form of this question, so it is put to librdkafka directly. Every handle that librdkafka gives is
//! owned by a value here that gives it back.

#![expect(unsafe_code, reason = "calls of librdkafka's that its Rust crate leaves out")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::client::Client;

/// What may be done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Operation {
    Read,
    Write,
    Create,
    Describe,
    DescribeConfigs,
}

impl Operation {
    const ALL: [(u32, Operation); 5] = [
        (native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ as u32, Operation::Read),
        (native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as u32, Operation::Write),
        (native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_CREATE as u32, Operation::Create),
        (native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE as u32, Operation::Describe),
        (native::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS as u32, Operation::DescribeConfigs),
    ];
}

/// By topic; one that may not even be seen has none, and one that is not there is missing.
pub type Rights = BTreeMap<String, Vec<Operation>>;

/// A handle of librdkafka's, given back with the function that it wants for it.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(handle: *mut T, give_back: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(handle).map(|handle| Owned(handle, give_back))
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the handle came from librdkafka, is not null, is ours alone, and this is its destructor.
        unsafe { (self.1)(self.get()) }
    }
}

/// Asks for these topics. Blocks for `patience_ms` at the most.
///
/// # Errors
/// What the client says.
pub fn of_topics<C: ClientContext>(client: &Client<C>, topics: &[String], patience_ms: i32) -> Result<Rights, String> {
    let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let refused = || "the client refuses the question".to_owned();
    let api = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client's handle lives as long as `client`; the names outlive the call, which copies them; each handle is checked and
    // owned from here on.
    let (options, queue, collection) = unsafe {
        let options = native::rd_kafka_AdminOptions_new(client.native_ptr(), api);
        let queue = native::rd_kafka_queue_new(client.native_ptr());
        let collection = native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        (
            Owned::new(options, native::rd_kafka_AdminOptions_destroy).ok_or_else(refused)?,
            Owned::new(queue, native::rd_kafka_queue_destroy).ok_or_else(refused)?,
            Owned::new(collection, native::rd_kafka_TopicCollection_destroy).ok_or_else(refused)?,
        )
    };
    // SAFETY: the three handles are valid until the end of the function, longer than the question, whose answer is waited for below; an
    // error is a handle of ours.
    let event = unsafe {
        let none = std::ptr::null_mut();
        native::rd_kafka_AdminOptions_set_request_timeout(options.get(), patience_ms, none, 0);
        let error = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
        drop(Owned::new(error, native::rd_kafka_error_destroy));
        native::rd_kafka_DescribeTopics(client.native_ptr(), collection.get(), options.get(), queue.get());
        Owned::new(native::rd_kafka_queue_poll(queue.get(), patience_ms), native::rd_kafka_event_destroy)
    };
    let event = event.ok_or_else(|| "no answer in time".to_owned())?;
    // SAFETY: the event is valid; what it points to is, as long as it is.
    unsafe {
        if native::rd_kafka_event_error(event.get()) != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_event_error_string(event.get())));
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err("another answer than was asked for".to_owned());
        }
        let mut count = 0;
        let descriptions = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).filter_map(|at| read(*descriptions.add(at))).collect())
    }
}

/// A topic's name and what is allowed.
///
/// # Safety
/// The description must be valid.
unsafe fn read(topic: *const native::rd_kafka_TopicDescription_t) -> Option<(String, Vec<Operation>)> {
    use native::rd_kafka_resp_err_t as Code;
    // SAFETY: the description is valid; its name is a string of librdkafka's, and its operations are an array as long as it says.
    unsafe {
        let name = text(native::rd_kafka_TopicDescription_name(topic));
        match native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(topic)) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => return Some((name, Vec::new())),
            _ => return None,
        }
        let mut count = 0;
        let operations = native::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        // As numbers: a newer broker may have operations that the enumeration lacks.
        let operations = operations.cast::<u32>();
        let allowed: Vec<u32> = (0..count).map(|at| *operations.add(at)).collect();
        let known = Operation::ALL.iter().filter(|(number, _)| allowed.contains(number));
        Some((name, known.map(|(_, operation)| *operation).collect()))
    }
}

/// # Safety
/// The pointer must be null or a string that ends in a zero.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
