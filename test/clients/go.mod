module github.com/crier-ws/crier/test/clients

go 1.26.0

require (
	github.com/gobwas/ws v1.5.0
	github.com/gorilla/websocket v1.5.3
	go.yaml.in/yaml/v3 v3.0.6
)

require github.com/gobwas/httphead v0.1.0 // indirect
