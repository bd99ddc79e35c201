package nvme

import "ashlar/target/nvme/auth"

// DHCHAP is the Authenticator of a queue whose host has to know a secret.
type DHCHAP struct{ *auth.Controller }

// State tells how far the exchange has come. A host that proves itself again
// stays authenticated until it has failed.
func (d DHCHAP) State() AuthState {
	if _, failed := d.Failed(); failed {
		return AuthFailed
	}
	if d.Authenticated() {
		return Authenticated
	}
	return Authenticating
}
