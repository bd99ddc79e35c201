// Package campaigns breaks real nodes again and again, as a seed falls, while hosts
// write: nothing acknowledged may be lost, every history has to be linearizable, and
// all copies are equal in the end. It measures how long hosts wait with each kind of
// fault. The campaign wants the tag "campaign".
package campaigns
