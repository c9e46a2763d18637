// swift-tools-version: 6.0

// The portrait demo: PortraitKit (pure Swift, tested on Linux against values that Python wrote) and what surrounds it.

import PackageDescription

// On Apple platforms ImageIO reads pictures; elsewhere libpng and libjpeg do.
#if os(Linux)
    let pictureReaders: [Target] = [
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .systemLibrary(name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
        .target(name: "CImage", dependencies: ["CPNG", "CJPEG"]),
    ]
    let pictureReaderDependencies: [Target.Dependency] = ["CImage"]
#else
    let pictureReaders: [Target] = []
    let pictureReaderDependencies: [Target.Dependency] = []
#endif

let package = Package(
    name: "PortraitDemo",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "PortraitKit", targets: ["PortraitKit"]),
        .library(name: "PortraitImages", targets: ["PortraitImages"]),
        .library(name: "PortraitCoreML", targets: ["PortraitCoreML"]),
        .executable(name: "portrait-demo", targets: ["portrait-demo"]),
    ],
    targets: [
        .target(name: "PortraitKit"),
        .target(name: "PortraitImages", dependencies: ["PortraitKit"] + pictureReaderDependencies),
        .target(name: "PortraitCoreML", dependencies: ["PortraitKit"]),  // empty where there is no Core ML
        .target(name: "PortraitToolkit", dependencies: ["PortraitKit"]),
        .executableTarget(
            name: "portrait-demo",
            dependencies: ["PortraitCoreML", "PortraitKit", "PortraitImages", "PortraitToolkit"],
            path: "Sources/PortraitDemo"
        ),
        .testTarget(name: "PortraitKitTests", dependencies: ["PortraitKit"], resources: [.copy("Fixtures")]),
        .testTarget(name: "PortraitImagesTests", dependencies: ["PortraitKit", "PortraitImages"]),
    ] + pictureReaders,
    swiftLanguageModes: [.v6]
)
