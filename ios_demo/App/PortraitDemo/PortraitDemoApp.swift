import SwiftUI

/// The demo: the packages of `portrait-export` on a camera, on photographs, and checked.
@main
struct PortraitDemoApp: App {
    @State private var packages = PackageModel()

    var body: some Scene {
        WindowGroup {
            TabView {
                CameraScreen(packages: packages).tabItem { Label("Camera", systemImage: "camera") }
                PhotoScreen(packages: packages).tabItem { Label("Photo", systemImage: "photo") }
                CheckScreen(packages: packages).tabItem { Label("Check", systemImage: "checkmark.seal") }
            }
            .task { await packages.loadFirst() }
        }
    }
}
