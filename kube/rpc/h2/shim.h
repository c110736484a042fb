/* The shim's whole interface: C compiles it, and Python gives it to cffi as it stands (so no
 * preprocessor here). One h2 is one HTTP/2 connection that carries gRPC: bytes in by h2_feed,
 * whole events out in h2_view.events, bytes to send from h2_pull. It reads no clock, owns no
 * socket, starts no thread and never calls back.
 *
 * A request whose content-type is not application/grpc is a page's: a MESSAGE event is then a piece
 * of its body, and h2_send and h2_answer send bytes as they are. */

typedef struct h2 h2;

typedef struct {
  uint32_t server;              /* 1 answers requests, 0 makes them */
  uint32_t max_streams;         /* concurrent streams that the peer may open */
  uint32_t stream_window;       /* bytes a peer may send on a stream before we credit more */
  uint32_t connection_window;
  uint32_t max_header_bytes;    /* per block, counted as RFC 9113 6.5.2 does: +32 per field */
  uint32_t max_header_fields;
  uint32_t max_strikes;         /* broken limits until the connection is given up */
  uint32_t max_message_bytes;   /* one received message */
  uint32_t max_received_bytes;  /* received on all streams and not consumed yet */
  uint32_t max_unsent_bytes;    /* queued on all streams: from here on h2_send refuses */
  uint32_t stream_high_bytes;   /* queued on one stream: from here on the sender should wait */
  uint32_t resets_burst;        /* RST_STREAMs the peer may send at once ... */
  uint32_t resets_per_second;   /* ... and for ever */
} h2_limits;

typedef struct {
  const uint8_t *events;        /* valid until the next call of h2_clear */
  size_t events_len;
  const uint8_t *out;           /* valid until the next h2_pull */
  size_t out_len;
  size_t unsent;                /* bytes queued and not yet pulled, all streams */
  size_t received;              /* bytes received and not yet consumed, all streams */
  uint32_t streams;             /* open streams */
} h2_view;

/* An event is this header, little endian without padding, and `length` bytes:
 *   u8 kind, u8 flags, i32 stream, u32 code, u32 length */

const char *h2_source(void);
h2 *h2_new(const h2_limits *limits);
void h2_free(h2 *c);
h2_view *h2_look(h2 *c);
int h2_feed(h2 *c, const uint8_t *data, size_t len);
void h2_clear(h2 *c);
int h2_pull(h2 *c, size_t max);
int h2_done(h2 *c);

/* Header blocks are name NUL value NUL ... */
int32_t h2_request(h2 *c, const uint8_t *block, size_t len, const uint8_t *message,
                   int64_t message_len, int end);
int h2_headers(h2 *c, int32_t stream, const uint8_t *block, size_t len, int end);
int64_t h2_send(h2 *c, int32_t stream, const uint8_t *message, size_t len);
int h2_finish(h2 *c, int32_t stream, const uint8_t *trailers, size_t len);
int h2_answer(h2 *c, int32_t stream, const uint8_t *block, size_t block_len,
              const uint8_t *message, size_t message_len, const uint8_t *trailers,
              size_t trailers_len);
int h2_reset(h2 *c, int32_t stream, uint32_t code);
int h2_consume(h2 *c, int32_t stream, size_t bytes);
int h2_ping(h2 *c, uint32_t payload);
int h2_notice(h2 *c);
int h2_goaway(h2 *c, uint32_t code);
