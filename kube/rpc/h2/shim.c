/* gRPC's framing on libnghttp2, for Python. What the functions promise is in shim.h.
 *
 * nghttp2 holds the protocol (frames, HPACK, flow control, the floods it knows); this file
 * cuts DATA into gRPC messages, queues what is to be sent, and bounds what nghttp2 leaves to
 * the application: header bytes and fields per block, message sizes, bytes queued either way.
 * Of requests that are no gRPC it hands on the pieces as they come.
 * nghttp2 calls the on_* functions only inside h2_feed and h2_pull. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <nghttp2/nghttp2.h>

#include "shim.h"

#ifndef H2_SOURCE
#define H2_SOURCE "unknown"
#endif

/* Debian back-ported these to versions whose header may lack them: bound when they exist. */
extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t)
    __attribute__((weak));
extern void nghttp2_option_set_max_continuations(nghttp2_option *, size_t) __attribute__((weak));

enum { HEADERS = 1, MESSAGE, END, TRAILERS, CLOSED, DRAINED, GOAWAY, PONG, REFUSED, SETTINGS };
enum { FLAG_END = 1 };
/* Why a message was refused (the code of a REFUSED event). */
enum { TOO_LARGE = 1, COMPRESSED, TRUNCATED, TOO_MUCH };
enum { E_MEMORY = -1, E_STREAM = -2, E_FULL = -3, E_HTTP2 = -4, E_BLOCK = -5, E_LIMIT = -6 };
enum { PREFIX = 5, BUCKETS = 256, MAX_FIELDS = 256, MESSAGE_COST = 64, MAX_CONTINUATIONS = 8,
       MAX_QUEUED_FRAMES = 2000 };

typedef struct {
  uint8_t *data;
  size_t len, cap;
} buffer;

typedef struct chunk {
  struct chunk *next;
  size_t len, at;
  uint8_t data[];
} chunk;

typedef struct stream {
  struct stream *next; /* in its bucket */
  int32_t id;
  /* receiving */
  buffer block; /* the header block that is coming in */
  size_t block_bytes;
  uint32_t fields;
  uint8_t prefix[PREFIX];
  uint32_t prefix_len;
  buffer part; /* the message that is coming in */
  size_t want;
  size_t undelivered; /* of messages that the application has not consumed */
  size_t held;        /* window bytes that we owe the peer */
  /* sending */
  chunk *first, *last;
  size_t pending;
  buffer trailers;
  unsigned announced : 1; /* the application knows this stream */
  unsigned refused : 1;   /* whatever else comes in is dropped */
  unsigned raw : 1;       /* not gRPC: DATA is a page's body, both ways, without prefixes */
  unsigned deferred : 1, waiting : 1, ending : 1, answered : 1, peer_done : 1;
} stream;

struct h2 {
  nghttp2_session *session;
  h2_limits limits;
  h2_view view;
  buffer events, out;
  stream *buckets[BUCKETS];
  uint32_t strikes;
  int failed; /* an allocation failed, or the peer broke too many limits */
};

/* -- memory */

static int reserve(buffer *b, size_t more) {
  if (more > SIZE_MAX / 4 - b->len) return E_MEMORY;
  if (b->len + more <= b->cap) return 0;
  size_t cap = b->cap ? b->cap : 256;
  while (cap < b->len + more) cap *= 2;
  uint8_t *data = realloc(b->data, cap);
  if (!data) return E_MEMORY;
  b->data = data;
  b->cap = cap;
  return 0;
}

static int append(buffer *b, const void *data, size_t len) {
  if (reserve(b, len)) return E_MEMORY;
  if (len) memcpy(b->data + b->len, data, len); /* memcpy(NULL, 0) is undefined */
  b->len += len;
  return 0;
}

static void release(buffer *b) {
  free(b->data);
  memset(b, 0, sizeof *b);
}

/* -- events */

static void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static void emit(h2 *c, uint8_t kind, uint8_t flags, int32_t id, uint32_t code, const void *data,
                 size_t len) {
  uint8_t head[14] = {kind, flags};
  put32(head + 2, (uint32_t)id);
  put32(head + 6, code);
  put32(head + 10, (uint32_t)len);
  if (reserve(&c->events, sizeof head + len)) {
    c->failed = 1;
    return;
  }
  append(&c->events, head, sizeof head);
  append(&c->events, data, len);
}

/* -- streams */

static stream *find(h2 *c, int32_t id) {
  stream *s = c->buckets[(id >> 1) % BUCKETS];
  while (s && s->id != id) s = s->next;
  return s;
}

static stream *add(h2 *c, int32_t id) {
  stream *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  stream **bucket = &c->buckets[(id >> 1) % BUCKETS];
  s->id = id;
  s->next = *bucket;
  *bucket = s;
  c->view.streams++;
  return s;
}

static void free_stream(h2 *c, stream *s) {
  for (chunk *k = s->first; k;) {
    chunk *next = k->next;
    free(k);
    k = next;
  }
  c->view.unsent -= s->pending;
  c->view.received -= s->undelivered + s->part.len;
  c->view.streams--;
  release(&s->block);
  release(&s->part);
  release(&s->trailers);
  free(s);
}

static void drop(h2 *c, int32_t id, uint32_t code) {
  stream **at = &c->buckets[(id >> 1) % BUCKETS];
  while (*at && (*at)->id != id) at = &(*at)->next;
  stream *s = *at;
  if (!s) return;
  *at = s->next;
  if (s->announced) emit(c, CLOSED, 0, id, code, NULL, 0);
  free_stream(c, s);
}

/* -- receiving: headers */

static void strike(h2 *c) {
  if (++c->strikes == c->limits.max_strikes)
    nghttp2_session_terminate_session(c->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2 *c = user;
  (void)session;
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  stream *s = find(c, frame->hd.stream_id);
  if (!s) {
    if (!c->limits.server) return 0;
    s = add(c, frame->hd.stream_id);
    if (!s) return NGHTTP2_ERR_CALLBACK_FAILURE;
    s->raw = 1; /* until its content-type says gRPC */
  }
  s->block.len = s->block_bytes = s->fields = 0;
  return 0;
}

/* Of several content-types the last one counts, as it does for whoever reads the block. */
static void look_at_type(stream *s, const uint8_t *name, size_t name_len, const uint8_t *value,
                         size_t value_len) {
  static const char type[] = "content-type", grpc[] = "application/grpc";
  if (name_len != sizeof type - 1 || memcmp(name, type, name_len)) return;
  s->raw = value_len < sizeof grpc - 1 || memcmp(value, grpc, sizeof grpc - 1);
}

/* nghttp2 bounds the compressed block, not what it unpacks to (the HPACK bomb). */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user) {
  h2 *c = user;
  (void)flags;
  stream *s = find(c, frame->hd.stream_id);
  if (!s) return 0;
  s->block_bytes += name_len + value_len + 32;
  s->fields++;
  if (s->block_bytes > 64ull * c->limits.max_header_bytes) {
    /* Far beyond what a mistake makes: stop unpacking at once. */
    c->failed = 1;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  if (s->refused) return 0;
  if (s->block_bytes > c->limits.max_header_bytes || s->fields > c->limits.max_header_fields ||
      memchr(name, 0, name_len) || memchr(value, 0, value_len)) {
    s->refused = 1;
    release(&s->block);
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_ENHANCE_YOUR_CALM);
    strike(c);
    return 0;
  }
  if (c->limits.server && !s->announced) look_at_type(s, name, name_len, value, value_len);
  if (append(&s->block, name, name_len) || append(&s->block, "", 1) ||
      append(&s->block, value, value_len) || append(&s->block, "", 1))
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  return 0;
}

static void refuse(h2 *c, stream *s, uint32_t why) {
  s->refused = 1;
  c->view.received -= s->part.len;
  release(&s->part);
  emit(c, REFUSED, 0, s->id, why, NULL, 0);
}

static void peer_ended(h2 *c, stream *s) {
  s->peer_done = 1;
  if (s->refused) return;
  if (s->prefix_len) refuse(c, s, TRUNCATED);
}

static void headers_complete(h2 *c, const nghttp2_frame *frame) {
  stream *s = find(c, frame->hd.stream_id);
  if (!s) return;
  int end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (end) peer_ended(c, s);
  if (s->refused) return;
  s->announced = 1;
  emit(c, frame->headers.cat == NGHTTP2_HCAT_HEADERS ? TRAILERS : HEADERS, end ? FLAG_END : 0, s->id, 0, s->block.data,
       s->block.len);
  release(&s->block);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2 *c = user;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      headers_complete(c, frame);
      break;
    case NGHTTP2_DATA:
      if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        stream *s = find(c, frame->hd.stream_id);
        if (!s) break;
        peer_ended(c, s);
        if (!s->refused) emit(c, END, 0, s->id, 0, NULL, 0);
      }
      break;
    case NGHTTP2_PING:
      if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
        uint32_t payload;
        memcpy(&payload, frame->ping.opaque_data, sizeof payload);
        emit(c, PONG, 0, 0, payload, NULL, 0);
      }
      break;
    case NGHTTP2_GOAWAY:
      emit(c, GOAWAY, 0, frame->goaway.last_stream_id, frame->goaway.error_code,
           frame->goaway.opaque_data, frame->goaway.opaque_data_len);
      break;
    case NGHTTP2_SETTINGS:
      if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
        emit(c, SETTINGS, 0, 0,
             nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
             NULL, 0);
      break;
    default:
      break;
  }
  return 0;
}

/* -- receiving: messages */

static void deliver(h2 *c, stream *s, const uint8_t *data, size_t len) {
  s->undelivered += len + MESSAGE_COST;
  c->view.received += len + MESSAGE_COST;
  s->prefix_len = 0;
  emit(c, MESSAGE, 0, s->id, 0, data, len);
}

/* Buffers grow with what came in, never with what a prefix announces. */
static int take(h2 *c, stream *s, const uint8_t *data, size_t len) {
  if (s->raw && len && !s->refused) {
    if (c->view.received + len > c->limits.max_received_bytes) {
      refuse(c, s, TOO_MUCH);
    } else {
      deliver(c, s, data, len);
    }
    return 0;
  }
  while (len && !s->refused) {
    if (s->prefix_len < PREFIX) {
      s->prefix[s->prefix_len++] = *data++;
      len--;
      if (s->prefix_len < PREFIX) continue;
      s->want = (size_t)s->prefix[1] << 24 | (size_t)s->prefix[2] << 16 |
                (size_t)s->prefix[3] << 8 | s->prefix[4];
      if (s->prefix[0]) {
        refuse(c, s, COMPRESSED);
      } else if (s->want > c->limits.max_message_bytes) {
        refuse(c, s, TOO_LARGE);
      } else if (s->want == 0) {
        deliver(c, s, NULL, 0);
      }
      continue;
    }
    if (s->part.len == 0 && len >= s->want) { /* whole in this piece: no copy */
      deliver(c, s, data, s->want);
      data += s->want;
      len -= s->want;
      continue;
    }
    size_t piece = s->want - s->part.len;
    if (piece > len) piece = len;
    if (c->view.received + piece > c->limits.max_received_bytes) {
      refuse(c, s, TOO_MUCH);
      break;
    }
    if (append(&s->part, data, piece)) return E_MEMORY;
    c->view.received += piece;
    data += piece;
    len -= piece;
    if (s->part.len == s->want) {
      c->view.received -= s->part.len;
      deliver(c, s, s->part.data, s->part.len);
      release(&s->part);
    }
  }
  return 0;
}

/* The connection's window is credited at once, so that one slow call does not stop the others;
 * a stream's only while its messages are being consumed. */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user) {
  h2 *c = user;
  (void)flags;
  nghttp2_session_consume_connection(session, len);
  stream *s = find(c, id);
  if (!s) {
    nghttp2_session_consume_stream(session, id, len);
    return 0;
  }
  if (take(c, s, data, len)) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (s->undelivered > c->limits.stream_window / 2) {
    s->held += len;
  } else {
    nghttp2_session_consume_stream(session, id, len);
  }
  return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user) {
  (void)session;
  drop(user, id, code);
  return 0;
}

/* -- sending */

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user);
static const nghttp2_data_provider provider = {{0}, read_data};

/* Splits a block in place of copying it; nghttp2 copies what it keeps. */
static int fields_of(const uint8_t *block, size_t len, nghttp2_nv *fields) {
  const uint8_t *at = block, *stop = block + len;
  int count = 0;
  while (at < stop) {
    const uint8_t *name_end = memchr(at, 0, (size_t)(stop - at));
    if (!name_end || count == MAX_FIELDS) return E_BLOCK;
    const uint8_t *value = name_end + 1;
    const uint8_t *value_end = value < stop ? memchr(value, 0, (size_t)(stop - value)) : NULL;
    if (!value_end) return E_BLOCK;
    fields[count++] = (nghttp2_nv){(uint8_t *)at, (uint8_t *)value, (size_t)(name_end - at),
                                   (size_t)(value_end - value), NGHTTP2_NV_FLAG_NONE};
    at = value_end + 1;
  }
  return count;
}

static int submit_trailers(h2 *c, stream *s) {
  nghttp2_nv fields[MAX_FIELDS];
  int count = fields_of(s->trailers.data, s->trailers.len, fields);
  if (count < 0) return count;
  return nghttp2_submit_trailer(c->session, s->id, fields, (size_t)count);
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user) {
  h2 *c = user;
  (void)session;
  (void)source;
  stream *s = find(c, id);
  if (!s) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  size_t copied = 0;
  while (s->first && copied < room) {
    chunk *k = s->first;
    size_t piece = k->len - k->at;
    if (piece > room - copied) piece = room - copied;
    memcpy(to + copied, k->data + k->at, piece);
    copied += piece;
    k->at += piece;
    if (k->at < k->len) break;
    s->first = k->next;
    if (!s->first) s->last = NULL;
    s->pending -= k->len;
    c->view.unsent -= k->len;
    free(k);
  }
  if (s->waiting && s->pending <= c->limits.stream_high_bytes / 2) {
    s->waiting = 0;
    emit(c, DRAINED, 0, id, 0, NULL, 0);
  }
  if (s->first) return (ssize_t)copied;
  if (s->ending) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->trailers.len) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      if (submit_trailers(c, s)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)copied;
  }
  if (copied) return (ssize_t)copied;
  s->deferred = 1;
  return NGHTTP2_ERR_DEFERRED;
}

/* A server that answers before the client has finished tells it to stop (RFC 9113 8.1). */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  h2 *c = user;
  if (!c->limits.server || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  stream *s = find(c, frame->hd.stream_id);
  if (s && !s->peer_done)
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
  return 0;
}

/* A request that never left (cancelled, or the server is going away) closes nothing by itself. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *user) {
  h2 *c = user;
  (void)session;
  (void)error;
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST &&
      !c->limits.server)
    drop(c, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
  return 0;
}

static void resume(h2 *c, stream *s) {
  if (!s->deferred) return;
  s->deferred = 0;
  nghttp2_session_resume_data(c->session, s->id);
}

static int queue(h2 *c, stream *s, const uint8_t *message, size_t len) {
  if (len > UINT32_MAX) return E_FULL;
  size_t prefix = s->raw ? 0 : PREFIX;
  chunk *k = malloc(sizeof *k + PREFIX + len);
  if (!k) return E_MEMORY;
  k->next = NULL;
  k->at = 0;
  k->len = prefix + len;
  k->data[0] = 0;
  for (int i = 0; i < 4; i++) k->data[1 + i] = (uint8_t)(len >> (8 * (3 - i)));
  if (len) memcpy(k->data + prefix, message, len);
  if (s->last) {
    s->last->next = k;
  } else {
    s->first = k;
  }
  s->last = k;
  s->pending += k->len;
  c->view.unsent += k->len;
  return 0;
}

/* -- the interface */

static nghttp2_option *options_of(const h2_limits *limits) {
  nghttp2_option *option;
  if (nghttp2_option_new(&option)) return NULL;
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_max_reserved_remote_streams(option, 0);
  nghttp2_option_set_peer_max_concurrent_streams(option, 100);
  if (nghttp2_option_set_stream_reset_rate_limit)
    nghttp2_option_set_stream_reset_rate_limit(option, limits->resets_burst,
                                               limits->resets_per_second);
  if (nghttp2_option_set_max_continuations)
    nghttp2_option_set_max_continuations(option, MAX_CONTINUATIONS);
  return option;
}

static nghttp2_session_callbacks *callbacks(void) {
  nghttp2_session_callbacks *on;
  if (nghttp2_session_callbacks_new(&on)) return NULL;
  nghttp2_session_callbacks_set_on_begin_headers_callback(on, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(on, on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(on, on_frame_recv);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(on, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(on, on_stream_close);
  nghttp2_session_callbacks_set_on_frame_send_callback(on, on_frame_send);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(on, on_frame_not_send);
  return on;
}

static int greet(h2 *c) {
  nghttp2_settings_entry entries[] = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->limits.max_header_bytes},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->limits.max_streams},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  /* A server has nothing to say about push. */
  size_t count = c->limits.server ? 3 : 4;
  if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, entries, count)) return E_HTTP2;
  return nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                               (int32_t)c->limits.connection_window);
}

const char *h2_source(void) { return H2_SOURCE; }

h2 *h2_new(const h2_limits *limits) {
  h2 *c = calloc(1, sizeof *c);
  nghttp2_option *option = options_of(limits);
  nghttp2_session_callbacks *on = callbacks();
  if (c && option && on) {
    c->limits = *limits;
    int failed = limits->server ? nghttp2_session_server_new2(&c->session, on, c, option)
                                : nghttp2_session_client_new2(&c->session, on, c, option);
    if (failed || greet(c)) {
      h2_free(c);
      c = NULL;
    }
  } else {
    free(c);
    c = NULL;
  }
  if (option) nghttp2_option_del(option);
  if (on) nghttp2_session_callbacks_del(on);
  return c;
}

void h2_free(h2 *c) {
  if (!c) return;
  if (c->session) nghttp2_session_del(c->session); /* makes no close callbacks */
  for (int i = 0; i < BUCKETS; i++)
    for (stream *s = c->buckets[i]; s;) {
      stream *next = s->next;
      free_stream(c, s);
      s = next;
    }
  release(&c->events);
  release(&c->out);
  free(c);
}

static h2_view *look(h2 *c) {
  c->view.events = c->events.data;
  c->view.events_len = c->events.len;
  c->view.out = c->out.data;
  c->view.out_len = c->out.len;
  return &c->view;
}

h2_view *h2_look(h2 *c) { return look(c); }

/* 0, or why the connection must be closed. Events before the error are there all the same. */
int h2_feed(h2 *c, const uint8_t *data, size_t len) {
  ssize_t used = c->failed ? NGHTTP2_ERR_CALLBACK_FAILURE
                           : nghttp2_session_mem_recv(c->session, data, len);
  look(c);
  /* A peer that makes us answer (refused streams, say) and reads nothing. */
  if (c->limits.server && nghttp2_session_get_outbound_queue_size(c->session) >
                              MAX_QUEUED_FRAMES + 2 * (size_t)c->limits.max_streams)
    c->failed = 1;
  if (used < 0 || c->failed) {
    c->failed = 1;
    return used < 0 ? (int)used : E_LIMIT;
  }
  return 0;
}

/* Gives a large buffer back: one burst shall not be held for the connection's whole life. */
void h2_clear(h2 *c) {
  if (c->events.cap > (1u << 16)) release(&c->events);
  c->events.len = 0;
  look(c);
}

/* Fills view.out with about `max` bytes at most; 1 if more may be waiting, 0 if not. */
int h2_pull(h2 *c, size_t max) {
  if (c->out.cap > 4 * max) release(&c->out);
  c->out.len = 0;
  int more = 0;
  while (!c->failed) {
    const uint8_t *data;
    ssize_t len = nghttp2_session_mem_send(c->session, &data);
    if (len < 0 || (len > 0 && append(&c->out, data, (size_t)len))) c->failed = 1;
    if (len <= 0) break;
    if (c->out.len >= max) {
      more = 1;
      break;
    }
  }
  look(c);
  return c->failed ? E_HTTP2 : more;
}

/* Neither side has anything left to say: after GOAWAY, with the last stream closed. */
int h2_done(h2 *c) {
  return c->failed ||
         (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session));
}

/* The stream's number. `message_len` below 0: none yet; `end`: and none will follow. */
int32_t h2_request(h2 *c, const uint8_t *block, size_t len, const uint8_t *message,
                   int64_t message_len, int end) {
  nghttp2_nv fields[MAX_FIELDS];
  int count = fields_of(block, len, fields);
  if (count < 0) return count;
  if (c->view.unsent >= c->limits.max_unsent_bytes) return E_FULL;
  if (c->failed || !nghttp2_session_check_request_allowed(c->session)) return E_HTTP2;
  int32_t id = nghttp2_submit_request(c->session, NULL, fields, (size_t)count, &provider, NULL);
  if (id < 0) return E_HTTP2;
  stream *s = add(c, id);
  if (!s) {
    c->failed = 1; /* nghttp2 has the request already */
    return E_MEMORY;
  }
  s->announced = 1;
  s->answered = 1;
  s->ending = end != 0;
  if (message_len >= 0 && queue(c, s, message, (size_t)message_len)) {
    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    return E_MEMORY;
  }
  return id;
}

/* The head of an answer; with `end` it is the whole answer ("Trailers-Only"). */
int h2_headers(h2 *c, int32_t id, const uint8_t *block, size_t len, int end) {
  nghttp2_nv fields[MAX_FIELDS];
  stream *s = find(c, id);
  if (!s || s->answered) return E_STREAM;
  int count = fields_of(block, len, fields);
  if (count < 0) return count;
  s->answered = 1;
  s->ending = end != 0;
  return nghttp2_submit_response(c->session, id, fields, (size_t)count, end ? NULL : &provider)
             ? E_HTTP2
             : 0;
}

/* What is queued on the stream now; from stream_high_bytes on a DRAINED event will follow. */
int64_t h2_send(h2 *c, int32_t id, const uint8_t *message, size_t len) {
  stream *s = find(c, id);
  if (!s || !s->answered || s->ending) return E_STREAM;
  if (c->view.unsent >= c->limits.max_unsent_bytes) return E_FULL;
  int failed = queue(c, s, message, len);
  if (failed) return failed;
  resume(c, s);
  if (s->pending >= c->limits.stream_high_bytes) s->waiting = 1;
  return (int64_t)s->pending;
}

int h2_finish(h2 *c, int32_t id, const uint8_t *trailers, size_t len) {
  stream *s = find(c, id);
  if (!s || !s->answered || s->ending) return E_STREAM;
  if (append(&s->trailers, trailers, len)) return E_MEMORY;
  s->ending = 1;
  resume(c, s);
  return 0;
}

int h2_answer(h2 *c, int32_t id, const uint8_t *block, size_t block_len, const uint8_t *message,
              size_t message_len, const uint8_t *trailers, size_t trailers_len) {
  if (c->view.unsent >= c->limits.max_unsent_bytes) return E_FULL;
  int failed = h2_headers(c, id, block, block_len, 0);
  if (failed) return failed;
  int64_t pending = h2_send(c, id, message, message_len);
  if (pending < 0) return (int)pending;
  stream *s = find(c, id);
  if (s) s->waiting = 0; /* nobody waits */
  return h2_finish(c, id, trailers, trailers_len);
}

int h2_reset(h2 *c, int32_t id, uint32_t code) {
  stream *s = find(c, id);
  if (!s) return E_STREAM;
  s->refused = 1;
  return nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, code) ? E_HTTP2 : 0;
}

int h2_consume(h2 *c, int32_t id, size_t bytes) {
  stream *s = find(c, id);
  if (!s) return E_STREAM;
  bytes += MESSAGE_COST;
  if (bytes > s->undelivered) bytes = s->undelivered;
  s->undelivered -= bytes;
  c->view.received -= bytes;
  if (!s->held || s->undelivered > c->limits.stream_window / 2) return 0;
  size_t held = s->held;
  s->held = 0;
  return nghttp2_session_consume_stream(c->session, id, held) ? E_HTTP2 : 1;
}

int h2_ping(h2 *c, uint32_t payload) {
  uint8_t data[8] = {0};
  memcpy(data, &payload, sizeof payload);
  return nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, data) ? E_HTTP2 : 0;
}

/* "Going away soon": the peer shall open no more streams; those on the wire are still served. */
int h2_notice(h2 *c) { return nghttp2_submit_shutdown_notice(c->session) ? E_HTTP2 : 0; }

int h2_goaway(h2 *c, uint32_t code) {
  int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
  return nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, code, NULL, 0) ? E_HTTP2 : 0;
}
