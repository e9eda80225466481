//! What brokers allow this principal on topics and consumer groups, as they tell it themselves (Kafka Improvement Proposal 430): nothing is tried out.
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

/// What may be done with a topic or a group.
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
    // SAFETY: the names outlive the call, which copies them; the handle is checked and owned from here on.
    let collection = unsafe {
        let collection = native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        Owned::new(collection, native::rd_kafka_TopicCollection_destroy).ok_or_else(refused)?
    };
    let api = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = ask(client, api, patience_ms, |options, queue| {
        // SAFETY: the handles are valid during the call, the collection longer than the question, whose answer `ask` waits for.
        unsafe { native::rd_kafka_DescribeTopics(client.native_ptr(), collection.get(), options, queue) }
    })?;
    // SAFETY: the event is valid; what it points to is, as long as it is.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(senseless());
        }
        let mut count = 0;
        let descriptions = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).filter_map(|at| read_topic(*descriptions.add(at))).collect())
    }
}

/// Asks for a consumer group, which need not be there; `None` if the brokers do not say of one that is not. Blocks for `patience_ms` at the
/// most.
///
/// # Errors
/// What the client says.
pub fn of_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    patience_ms: i32,
) -> Result<Option<Vec<Operation>>, String> {
    let name = CString::new(group).map_err(|_| refused())?;
    let api = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = ask(client, api, patience_ms, |options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: the handles are valid during the call, which copies the name.
        unsafe { native::rd_kafka_DescribeConsumerGroups(client.native_ptr(), names.as_mut_ptr(), 1, options, queue) }
    })?;
    // SAFETY: the event is valid; what it points to is, as long as it is.
    unsafe {
        let result = native::rd_kafka_event_DescribeConsumerGroups_result(event.get());
        if result.is_null() {
            return Err(senseless());
        }
        let mut count = 0;
        let descriptions = native::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 {
            return Ok(None);
        }
        Ok(read_group(*descriptions))
    }
}

fn refused() -> String {
    "the client refuses the question".to_owned()
}

fn senseless() -> String {
    "another answer than was asked for".to_owned()
}

/// Asks with `send`, waits for the answer, and gives it if it is no error.
fn ask<C: ClientContext>(
    client: &Client<C>,
    api: native::rd_kafka_admin_op_t,
    patience_ms: i32,
    send: impl FnOnce(*const native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
) -> Result<Owned<native::rd_kafka_event_t>, String> {
    // SAFETY: the client's handle lives as long as `client`; each handle is checked and owned from here on.
    let (options, queue) = unsafe {
        let options = native::rd_kafka_AdminOptions_new(client.native_ptr(), api);
        let queue = native::rd_kafka_queue_new(client.native_ptr());
        (
            Owned::new(options, native::rd_kafka_AdminOptions_destroy).ok_or_else(refused)?,
            Owned::new(queue, native::rd_kafka_queue_destroy).ok_or_else(refused)?,
        )
    };
    // SAFETY: the handle is valid; an error is a handle of ours.
    unsafe {
        let none = std::ptr::null_mut();
        native::rd_kafka_AdminOptions_set_request_timeout(options.get(), patience_ms, none, 0);
        let error = native::rd_kafka_AdminOptions_set_include_authorized_operations(options.get(), 1);
        drop(Owned::new(error, native::rd_kafka_error_destroy));
    }
    send(options.get(), queue.get());
    // SAFETY: the queue is valid, and what it gives is ours.
    let event =
        unsafe { Owned::new(native::rd_kafka_queue_poll(queue.get(), patience_ms), native::rd_kafka_event_destroy) };
    let event = event.ok_or_else(|| "no answer in time".to_owned())?;
    // SAFETY: the event is valid.
    unsafe {
        if native::rd_kafka_event_error(event.get()) != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(native::rd_kafka_event_error_string(event.get())));
        }
    }
    Ok(event)
}

/// A topic's name and what is allowed.
///
/// # Safety
/// The description must be valid.
unsafe fn read_topic(topic: *const native::rd_kafka_TopicDescription_t) -> Option<(String, Vec<Operation>)> {
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
        Some((name, known(operations, count)))
    }
}

/// What is allowed with a group.
///
/// # Safety
/// The description must be valid.
unsafe fn read_group(group: *const native::rd_kafka_ConsumerGroupDescription_t) -> Option<Vec<Operation>> {
    use native::rd_kafka_resp_err_t as Code;
    // SAFETY: the description is valid, and its operations are an array as long as it says.
    unsafe {
        match native::rd_kafka_error_code(native::rd_kafka_ConsumerGroupDescription_error(group)) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => return Some(Vec::new()),
            _ => return None,
        }
        let mut count = 0;
        let operations = native::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
        Some(known(operations, count))
    }
}

/// Those that we have a name for.
///
/// # Safety
/// There must be so many operations.
unsafe fn known(operations: *const native::rd_kafka_AclOperation_t, count: usize) -> Vec<Operation> {
    // As numbers: a newer broker may have operations that the enumeration lacks.
    let operations = operations.cast::<u32>();
    // SAFETY: there are so many.
    let allowed: Vec<u32> = (0..count).map(|at| unsafe { *operations.add(at) }).collect();
    let known = Operation::ALL.iter().filter(|(number, _)| allowed.contains(number));
    known.map(|(_, operation)| *operation).collect()
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
