//go:build tools

// Package tools names the programs of Kubernetes that e2e/kubernetes runs, so that go.mod and go.sum pin
// them and all that they are made of. Kubernetes' module has replace directives, which `go install` refuses.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
