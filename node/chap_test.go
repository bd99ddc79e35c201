package node

import (
	"errors"
	"testing"

	"ashlar/node/cluster"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

func TestAHostWithASecretHasToProveIt(t *testing.T) {
	n, iqn := published(t, false)
	_, err := login(t, n, "web", iqn)
	must(t, err)
	must(t, n.SetCHAP(limit(t), "web", cluster.CHAP{Secret: cluster.Secret("initiator secret"), Mutual: cluster.Secret("target's secret")}))
	dial := func(target string, chap *initiator.CHAP) error {
		s, err := initiator.Dial(limit(t), n.Config().PortalTexts()[0], target, initiator.Options{Name: "iqn.2026-11.com.example:web", CHAP: chap})
		if err == nil {
			s.Close()
		}
		return err
	}
	mutual := &initiator.CHAP{User: "iqn.2026-11.com.example:web", Secret: []byte("initiator secret"), MutualUser: "test", MutualSecret: []byte("target's secret")}
	for _, target := range []string{iqn, ""} { // "": discovery
		for what, chap := range map[string]*initiator.CHAP{"nothing": nil, "another secret": {User: "web", Secret: []byte("initiator-secret")}} {
			var refused *initiator.LoginError
			if err := dial(target, chap); !errors.As(err, &refused) || refused.Status != uint16(session.LoginAuthentication) {
				t.Errorf("target %q with %s: %v", target, what, err)
			}
		}
		must(t, dial(target, &initiator.CHAP{User: "web", Secret: []byte("initiator secret")}))
		must(t, dial(target, mutual))
	}
	must(t, n.SetCHAP(limit(t), "web", cluster.CHAP{}))
	must(t, dial(iqn, nil))
}
