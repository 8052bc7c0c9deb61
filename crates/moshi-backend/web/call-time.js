// The clock of a call, which stands still while the sound is away: so its times are also those of the recording.
// Pure: times come in as arguments, in seconds.

export class CallTime {
  constructor() {
    this.startedAt = null;
    this.stoppedAt = null;
    this.away = 0;
  }

  get begun() {
    return this.startedAt !== null;
  }

  /** The call begins; one that has begun goes on. */
  begin(now) {
    this.startedAt ??= now;
  }

  /** Nothing is heard or played since `at`. */
  stop(at) {
    if (this.begun) this.stoppedAt ??= Math.max(at, this.startedAt);
  }

  goOn(now) {
    if (this.stoppedAt !== null) this.away += now - this.stoppedAt;
    this.stoppedAt = null;
  }

  /** Seconds of the call. */
  at(now) {
    return this.begun ? (this.stoppedAt ?? now) - this.startedAt - this.away : 0;
  }
}
