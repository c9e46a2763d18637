// STUB, for type-checking on Linux only: CoreMedia's declarations as published at developer.apple.com, without bodies.

@_exported import CoreVideo

public final class CMSampleBuffer {}
public func CMSampleBufferGetImageBuffer(_ sbuf: CMSampleBuffer) -> CVImageBuffer? { fatalError() }
