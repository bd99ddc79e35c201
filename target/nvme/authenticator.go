package nvme

// Authenticator proves a host to us on one queue, and us to the host if it asks
// for that (NVMe Base 8.3.4, DH-HMAC-CHAP). It is one state machine per exchange:
// one goroutine calls it, and it neither blocks nor keeps what it is given.
type Authenticator interface {
	// Send takes the data of an Authentication Send. An error ends the exchange: the
	// command fails with Invalid Parameter, and the queue's connection is closed.
	Send(message []byte) error
	// Receive is the data of the next Authentication Receive, which the host cuts off
	// at its allocation length: also the message that tells of a failure. An error
	// means that there is none to send now.
	Receive() ([]byte, error)
	// State tells how far the exchange has come.
	State() AuthState
}

// AuthState is how far an exchange has come.
type AuthState uint8

const (
	Authenticating AuthState = iota
	Authenticated            // the host is proven
	AuthFailed               // it is not; once Receive has told the host, its connection is closed
)

// AuthRequest is what an exchange is about.
type AuthRequest struct {
	HostNQN      string
	SubsystemNQN string
	ControllerID uint16
	QueueID      uint16 // 0: the admin queue
}
