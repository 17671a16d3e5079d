/** What to connect with, and how long to wait. All times are in milliseconds. */
export interface CrierOptions {
  /** Begin behind the message of this id. It counts more than last, and than what the URL says. */
  since?: string;
  /** Begin so many messages back, or with the oldest that is kept. */
  last?: number;
  /**
   * Says who connects. A function is called for each connection. It goes as the subprotocol
   * `bearer.TOKEN`, so it must not have characters other than letters, digits and
   * ``!#$%&'*+-.^_`|~``, which base64url and JWTs do not; with events in the header Authorization.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** The longest first wait before it comes back; it doubles with each. Defaults to 500. */
  backoff?: number;
  /** The longest wait of all. Defaults to 30000. */
  maxBackoff?: number;
  /** How long a connection may take to open. Defaults to 15000. */
  timeout?: number;
  /**
   * After how long without a message (with events: without a heartbeat) another connection is
   * opened in the place of this one; it is between that and a quarter more. 0 for never.
   * Defaults to 300000 for WebSockets and 90000 for events.
   */
  silence?: number;
  /** How much an iterator may be behind, in characters and bytes, before the connection pauses. Defaults to 1 MiB. */
  buffer?: number;
  /** Defaults to auto: events where two WebSockets in a row do not open. */
  transport?: 'auto' | 'websocket' | 'events';
  /** In the place of the global ones. */
  WebSocket?: new (url: string, protocols: string[]) => unknown;
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** It is connected, for the first time or again. */
export interface CrierOpenEvent extends Event {
  readonly type: 'open';
  readonly transport: 'websocket' | 'events';
}

/** A message was published. */
export interface CrierMessageEvent extends Event {
  readonly type: 'message';
  readonly id: string;
  /** Text, or the bytes of a binary message. */
  readonly data: string | Uint8Array;
}

/** A message for this connection alone came: it has no id, and does not come again. */
export interface CrierDirectEvent extends Event {
  readonly type: 'direct';
  /** Text, or the bytes of a binary message. */
  readonly data: string | Uint8Array;
}

/** The messages behind from, up to and with to, are not to be had. */
export interface CrierGapEvent extends Event {
  readonly type: 'gap';
  /** null if the server does not know. */
  readonly from: string | null;
  readonly to: string;
}

/** It is not connected, or a try failed, and it will try again. */
export interface CrierDisconnectEvent extends Event {
  readonly type: 'disconnect';
  /** The close code; 1006 if there was none. */
  readonly code: number;
  readonly reason: string;
  /** The HTTP status, where it is known. */
  readonly status?: number;
  /** After how many milliseconds. Infinity while an iterator is behind. */
  readonly retryIn: number;
}

/** It has ended: it does not come back. */
export interface CrierCloseEvent extends Event {
  readonly type: 'close';
  /** As of disconnect; 1000 after close(). */
  readonly code: number;
  readonly reason: string;
  readonly status?: number;
}

export interface CrierEventMap {
  open: CrierOpenEvent;
  message: CrierMessageEvent;
  direct: CrierDirectEvent;
  gap: CrierGapEvent;
  disconnect: CrierDisconnectEvent;
  close: CrierCloseEvent;
}

type Listener<E extends Event> = ((event: E) => void) | { handleEvent(event: E): void } | null;

/** A subscription to a channel, which comes back behind the last message that it got. */
export class Crier extends EventTarget implements AsyncIterable<CrierMessageEvent | CrierGapEvent> {
  /**
   * Connects, soon after it returns.
   *
   * @param url of the channel: ws, wss, http or https; in a page it may be relative
   * @throws TypeError if that is no such URL, or if there is no WebSocket (with `transport: 'events'`, no fetch): Node
   *   before 22 has none
   */
  constructor(url: string | URL, options?: CrierOptions);

  /** The id behind which it goes on; undefined before it has been connected. */
  readonly id: string | undefined;

  /** What the close event said; null before that. */
  readonly closed: { readonly code: number; readonly reason: string; readonly status?: number } | null;

  /**
   * Publishes to the channel. Nobody says that it has arrived; that it comes back as a message does.
   *
   * @throws Error while it is not connected, and with server-sent events
   */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): void;

  /** Ends it for good. The close event comes before it returns. */
  close(): void;

  /**
   * Messages and gaps from now on, in order, until it is closed. Who falls further behind than
   * `buffer` makes the connection pause, for the events as well, until he has read half of it.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<CrierMessageEvent | CrierGapEvent>;

  addEventListener<K extends keyof CrierEventMap>(
    type: K, listener: Listener<CrierEventMap[K]>, options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof CrierEventMap>(
    type: K, listener: Listener<CrierEventMap[K]>, options?: boolean | EventListenerOptions,
  ): void;
}
